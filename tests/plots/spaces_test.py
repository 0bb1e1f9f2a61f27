import pytest

from symmerge_jax import networks, plots


def test_spaces_are_drawn_with_what_links_them():
    network = networks.mlp((3, 8, 4, 2), "tanh")
    figure = plots.space_diagram(**network.diagram())
    [axis] = figure.axes
    names = ["in (3)", "hidden_0 (8)", "hidden_1 (4)", "out (2)"]
    assert [text.get_text() for text in axis.texts] == names
    assert len(axis.patches) == 3
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == ["fixed", "permutations and signs"]
    with pytest.raises(ValueError, match="links name the unknown space 'b'"):
        plots.space_diagram({"a": 1}, {"a": "fixed"}, [("a", "b")])
    with pytest.raises(ValueError, match="no spaces"):
        plots.space_diagram({}, {}, [])
