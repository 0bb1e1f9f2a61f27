"""The docstrings' section `Example` is what griffe calls `Examples`."""

import re

import griffe


class Examples(griffe.Extension):
    """Rename the section, so that its doctests are shown as code."""

    def on_object(self, *, obj, **_):
        """Change one docstring."""
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.M)
