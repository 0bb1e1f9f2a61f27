import functools
import http.server
import io
import shutil
import tarfile
import threading

import pytest

from symmerge_jax import zoo
from symmerge_jax.zoo import _import_small_cnn


@pytest.fixture
def archive(small_cnn, tmp_path, monkeypatch):
    """An archive like the published ones, of a small folder, with strangers in it."""
    path = tmp_path / "server" / "cifar10.tar.xz"
    path.parent.mkdir()
    with tarfile.open(path, "w:xz") as members:
        for name in ("weights.npy", "metrics.csv.gz", "layout.csv"):
            members.add(small_cnn.path / name, f"cifar10/{name}")
        stranger = tarfile.TarInfo("../stranger.txt")
        members.addfile(stranger, io.BytesIO())
        link = tarfile.TarInfo("elsewhere/weights.npy")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        members.addfile(link)
    monkeypatch.setitem(_import_small_cnn._NUM_ROWS, "cifar10", 60)
    monkeypatch.setattr(_import_small_cnn, "_NUM_COLUMNS", 63)
    return path


@pytest.fixture
def server(archive, monkeypatch):
    """A server of the archive on this machine; the requests that it got."""
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            requests.append(self.path)

    handler = functools.partial(Handler, directory=archive.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{running.server_port}/"
        monkeypatch.setattr(_import_small_cnn, "_URL", url)
        yield requests
        running.shutdown()
        thread.join()


def test_it_is_fetched_unpacked_and_found_again(server, small_cnn, tmp_path, capfd):
    folder = zoo.download_small_cnn_zoo("cifar10", tmp_path / "cache")
    assert folder == tmp_path / "cache" / "cifar10"
    names = ["layout.csv", "metrics.csv.gz", "weights.npy"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in names:
        assert (folder / name).read_bytes() == (small_cnn.path / name).read_bytes()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["cifar10"]
    assert not (tmp_path / "stranger.txt").exists()
    assert "unpack weights.npy: 1/1 MiB" in capfd.readouterr().err
    assert len(zoo.import_small_cnn(folder, activation="relu")) == 10
    assert zoo.download_small_cnn_zoo("cifar10", tmp_path / "cache") == folder
    assert server == ["/cifar10.tar.xz"]


def test_an_archive_put_there_by_hand_needs_no_connection(
    archive, tmp_path, monkeypatch
):
    monkeypatch.setattr(_import_small_cnn, "_URL", "http://127.0.0.1:9/")
    cache = tmp_path / "cache"
    cache.mkdir()
    shutil.copy(archive, cache)
    assert zoo.download_small_cnn_zoo("cifar10", cache) == cache / "cifar10"


def test_failed_download_tells_where_to_put_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(_import_small_cnn, "_URL", "http://127.0.0.1:9/")
    message = (
        r"Cannot download http://127.0.0.1:9/mnist\.tar\.xz .*Put that file at"
        r" .*mnist\.tar\.xz, or its contents \(weights\.npy, .* into .*mnist\."
    )
    with pytest.raises(FileNotFoundError, match=message):
        zoo.download_small_cnn_zoo("mnist", tmp_path)


def test_the_cache_of_the_user_is_the_default(archive, tmp_path, monkeypatch):
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    cache = tmp_path / "symmerge_jax" / "small_cnn_zoo"
    cache.mkdir(parents=True)
    shutil.copy(archive, cache)
    assert zoo.download_small_cnn_zoo() == cache / "cifar10"


def test_unknown_data_sets_are_refused():
    with pytest.raises(ValueError, match=r"'cifar100'; it has cifar10, fashion_mnist"):
        zoo.download_small_cnn_zoo("cifar100")


def shorten(path):
    path.write_bytes(path.read_bytes()[:-300])


def replace(path):
    path.write_text("<html>not found</html>")


def leave_out(path):
    with tarfile.open(path, "w:xz") as members:
        members.addfile(tarfile.TarInfo("cifar10/layout.csv"), io.BytesIO())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shorten, "truncated, damaged"),
        (replace, "truncated, damaged"),
        (leave_out, r"it lacks weights\.npy, metrics\.csv\.gz"),
    ],
)
def test_a_bad_archive_is_refused_and_leaves_nothing(
    archive, tmp_path, damage, message
):
    damage(archive)
    cache = tmp_path / "cache"
    cache.mkdir()
    shutil.copy(archive, cache)
    with pytest.raises(ValueError, match=f"{message}.*Remove it and fetch it again"):
        zoo.download_small_cnn_zoo("cifar10", cache)
    assert [path.name for path in cache.iterdir()] == ["cifar10.tar.xz"]


def test_weights_of_another_size_than_published_are_refused(archive, monkeypatch):
    monkeypatch.setattr(_import_small_cnn, "_NUM_COLUMNS", 4970)
    message = r"weights have the shape \(60, 63\), published are \(60, 4970\)"
    with pytest.raises(ValueError, match=message):
        zoo.download_small_cnn_zoo("cifar10", archive.parent)
    assert archive.exists()


def test_metrics_of_another_length_are_refused(small_cnn, monkeypatch):
    monkeypatch.setattr(_import_small_cnn, "_NUM_COLUMNS", 63)
    small_cnn.weights = small_cnn.weights[:59]
    small_cnn.write()
    with pytest.raises(ValueError, match=r"has more rows, .* have 59"):
        _import_small_cnn._check_published(59, small_cnn.path)
