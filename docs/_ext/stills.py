"""Widgets of an executed notebook as still pictures, from the state that it has saved."""

import copy
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from nbformat import NotebookNode

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
NOTE = "Controls need a running kernel"


def with_stills(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of `notebook` with a picture in the place of every widget.

    Progress bars disappear. Without a saved state a line says that a widget belongs there.
    """
    notebook = copy.deepcopy(notebook)
    models = notebook.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook.cells:
        for output in list(cell.get("outputs", [])):
            view = output.get("data", {}).get(VIEW)
            if view is None:
                continue
            still = _still(models, view["model_id"])
            if still:
                output.data = NotebookNode({"text/html": still})
            else:
                cell.outputs.remove(output)
    return notebook


def _still(models: Mapping[str, Any], key: str) -> str:
    """Return the HTML of the widget `key`: texts and pictures, then its controls in a caption."""
    if key not in models:
        return f'<p class="note">A widget stands here. {NOTE}.</p>'
    tree = list(_tree(models, key))
    shown = [part for model in tree if (part := _picture(model))]
    controls = ", ".join(value for model in tree if (value := _control(model["state"])))
    note = f"{NOTE}: {controls}." if controls else f"{NOTE}."
    return "".join([*shown, f'<p class="note">{note}</p>']) if shown else ""


def _tree(models: Mapping[str, Any], key: str) -> Iterator[Any]:
    """Yield the models of a widget and of all that it holds, in the order in which they stand."""
    model = models[key]
    state = model["state"]
    layout = models.get(state.get("layout", "").removeprefix("IPY_MODEL_"), {"state": {}})["state"]
    if layout.get("visibility") == "hidden" or layout.get("display") == "none":
        return  # a finished progress bar
    yield model
    for child in state.get("children", ()):
        yield from _tree(models, child.removeprefix("IPY_MODEL_"))


def _picture(model: Mapping[str, Any]) -> str:
    """Return a text or picture widget as HTML, and nothing for any other."""
    state = model["state"]
    if model["model_name"] in ("HTMLModel", "HTMLMathModel", "LabelModel"):
        return str(state["value"])
    if model["model_name"] != "ImageModel":
        return ""
    saved = [b["data"].strip() for b in model.get("buffers", ()) if b["path"] == ["value"]]
    if not any(saved):
        return ""  # nothing was drawn yet
    kind = state.get("format", "png")
    size = f' width="{state["width"]}"' if state.get("width") else ""
    return f'<img src="data:image/{kind};base64,{saved[0]}"{size} alt="Picture of a widget">'


def _control(state: Mapping[str, Any]) -> str:
    """Return the name and the value of a control, and nothing for what cannot be moved.

    >>> _control({"description": "channel", "index": 1, "_options_labels": ["red", "green"]})
    'channel <b>green</b>'
    >>> _control({"description": "camera rule", "disabled": False, "value": True})
    'camera rule <b>on</b>'
    """
    value = state.get("value")
    if "_options_labels" in state:
        labels, index = state["_options_labels"], state["index"]
        value = None if index is None else labels[index]
    elif "disabled" not in state or value is None:
        return ""
    if isinstance(value, bool):
        value = "on" if value else "off"
    if isinstance(value, list):
        value = " to ".join(map(str, value))
    return f"{escape(state['description'])} <b>{escape(str(value))}</b>"
