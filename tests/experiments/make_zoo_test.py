import numpy as np
import pytest
from PIL import Image

from experiments.populations import make_zoo
from symmerge_jax import zoo
from tests.experiments import configs


@pytest.mark.slow
def test_smoke_config_makes_a_zoo_and_finds_it_again(tmp_path, capsys):
    config = configs.load("zoo_digits", "smoke")
    config.architecture.hidden_sizes = (5,)
    config.fits_per_image = 2
    made = make_zoo.run(config, tmp_path / "a.zoo")
    assert len(made) == 16
    assert made.architecture["layer_sizes"] == [2, 5, 1]
    assert "16/16 network" in capsys.readouterr().err
    again = make_zoo.run(config, tmp_path / "a.zoo")
    assert again.provenance == made.provenance
    assert capsys.readouterr().err == ""


def test_smoke_config_of_waves_makes_two_networks_of_each(tmp_path):
    config = configs.load("zoo_waves", "smoke")
    config.architecture.hidden_sizes = (5,)
    planned = make_zoo.plan(config)
    made = make_zoo.run(config, tmp_path / "a.zoo")
    assert made.architecture["layer_sizes"] == [1, 5, 1]
    np.testing.assert_array_equal(made.image_row, np.repeat(np.arange(8), 2))
    assert made.images.shape == (8, 1, 256)
    assert planned.architecture == made.architecture
    np.testing.assert_array_equal(planned.images, made.images)
    assert "waves/all 16" in zoo.summary(zoo.load(tmp_path / "a.zoo"))


@pytest.mark.slow
def test_mnist_smoke_config_runs(tmp_path, data_dir):
    made = make_zoo.run(configs.load("zoo_mnist", "smoke"), tmp_path / "a.zoo")
    assert len(made) == 8 and made.images.shape == (8, 28, 28)


def test_images_that_do_not_fit_are_refused_with_the_key_that_helps(tmp_path):
    folder, out = tmp_path / "images", tmp_path / "a.zoo"
    folder.mkdir()
    Image.fromarray(np.full((4, 8, 3), 9, np.uint8)).save(folder / "x.png")
    config = make_zoo.default_config()
    config.data.source, config.data.dir = "folder", str(folder)
    with pytest.raises(ValueError, match=r"x\.png is not .* grey .*to_grey"):
        make_zoo.run(config, out)
    config.data.to_grey = True
    with pytest.raises(ValueError, match=r"x\.png is not square: 8 x 4.*centre_crop"):
        make_zoo.run(config, out)
    assert not out.exists()
    config.data.centre_crop = True
    config.architecture.hidden_sizes, config.fit.num_steps = (2,), 1
    assert make_zoo.run(config, out).images.tolist() == [[[9] * 4] * 4]


def test_unknown_key_is_refused_with_the_nearest(tmp_path):
    config = make_zoo.default_config()
    config.fit.num_step = 3
    with pytest.raises(ValueError, match=r"fit\.num_step'.*fit\.num_steps"):
        make_zoo.run(config, tmp_path / "a.zoo")
    assert not list(tmp_path.iterdir())


def test_unknown_variants_are_refused():
    for name in ("zoo_digits", "zoo_mnist", "zoo_waves"):
        with pytest.raises(ValueError, match="Variants"):
            configs.load(name, "huge")


def test_import_writes_one_file(tmp_path, data_dir):
    path = tmp_path / "a.zoo"
    imported = make_zoo.run_import(data_dir / "mnist_inrs", path)
    assert len(imported) == len(zoo.load(path)) == 32
    with pytest.raises(ValueError, match="exists"):
        make_zoo.run_import(data_dir / "mnist_inrs", path)


def test_small_cnns_are_imported_into_one_file(tmp_path, capsys):
    (tmp_path / "layout.csv").write_text(
        "varname,start_idx,end_idx,size,shape\n"
        'conv2d/bias:0,0,1,1,"(1,)"\n'
        'conv2d/kernel:0,1,5,4,"(2, 2, 1, 1)"\n'
        'dense/bias:0,5,7,2,"(2,)"\n'
        'dense/kernel:0,7,9,2,"(1, 2)"\n'
    )
    names = "test_accuracy,train_accuracy,test_loss,train_loss"
    (tmp_path / "metrics.csv").write_text(
        f"config.activation,modeldir,step,{names}\n"
        "relu,a,0,0,0,2,2\ntanh,b,86,0,0,2,2\nrelu,a,86,0.25,0,2,2\n"
    )
    weights = np.arange(27, dtype=np.float32).reshape(3, 9)
    np.save(tmp_path / "weights.npy", weights)
    (tmp_path / "order.csv").write_text("0\n1\n2\n0\n")
    path = tmp_path / "a.zoo"
    imported = make_zoo.run_import_small_cnn(
        tmp_path, path, activation="relu", steps=(0, 86), split=tmp_path / "order.csv"
    )
    assert len(imported) == len(zoo.load(path)) == 2
    kernels = imported.params["dense"]["kernel"]
    np.testing.assert_array_equal(kernels[:, 0], weights[[0, 2], 7:])
    assert [imported.subsets[i] for i in imported.subset_index] == ["test", "test"]
    assert "import: 2/2 network" in capsys.readouterr().err
    assert "test_accuracy" in zoo.summary(zoo.load(path))
    with pytest.raises(ValueError, match="exists"):
        make_zoo.run_import_small_cnn(tmp_path / "nowhere", path)
