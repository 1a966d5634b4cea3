"""Prompts: what may be stored, what may be referred to, and what becomes of a template's placeholders."""

from typing import Any

import pytest
from pydantic import ValidationError

from turnstream.errors import InvalidRequestError
from turnstream_gateway.prompt import RENDERED_LIMIT, Prompt, RenderedPrompt
from turnstream_gateway.prompt_reference import VARIABLES_LIMIT, PromptReference
from turnstream_gateway.prompt_requests import TEMPLATE_LIMIT, CreatePrompt, UpdatePrompt

IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}
FILE = {"type": "input_file", "file_url": "https://example.com/a.pdf"}


def create(prompt: str, variables: list[str] | None = None) -> CreatePrompt:
    """Parse the body of a creation."""
    return CreatePrompt.model_validate({"prompt": prompt, "variables": variables})


def refusal(model: type[CreatePrompt | PromptReference], body: dict[str, Any]) -> tuple[Any, str]:
    """Return the place and the message of the first complaint about a body."""
    with pytest.raises(ValidationError) as refused:
        model.model_validate(body)
    first = refused.value.errors()[0]
    return first["loc"][0], first["msg"]


def reference(**values: Any) -> PromptReference:
    """Parse a reference with values for variables."""
    return PromptReference.model_validate({"id": "pmpt_1", "variables": values})


def render(template: str, declares: list[str], **values: Any) -> RenderedPrompt:
    """Render the third version of a prompt with values as a client sends them."""
    prompt = Prompt("pmpt_1", 3, template, declares, is_default=False)
    return prompt.render(reference(**values).variables or {})


# Store


@pytest.mark.parametrize("template", ["", "Be brief.", "{{ city }}", "{{city}} {{  city\t}}", "{city} {{ a-b }} {{ }}"])
def test_placeholders_that_are_declared(template: str) -> None:
    """A prompt whose placeholders are all declared is taken as it is, with what only looks like a placeholder."""
    assert create(template, ["city", "unused"]).prompt == template


@pytest.mark.parametrize("variables", [None, [], ["City"]])
def test_undeclared_placeholders_are_refused(variables: list[str] | None) -> None:
    """A placeholder that is not declared is refused by its name, however the declarations are left out."""
    place, message = refusal(CreatePrompt, {"prompt": "In {{ city }}, {{country}}.", "variables": variables})
    assert place == "variables"
    assert "city, country" in message


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": "x" * (TEMPLATE_LIMIT + 1)}, "prompt"),
        ({"prompt": "x", "colour": "red"}, "colour"),
        ({"prompt": "x", "variables": "city"}, "variables"),
        ({"prompt": "x", "variables": ["a b"]}, "variables"),
        ({"prompt": "x", "variables": ["a\n"]}, "variables"),
        ({"prompt": "x", "variables": [""]}, "variables"),
        ({"prompt": "x", "variables": ["a" * 65]}, "variables"),
        ({"prompt": "x", "variables": [f"v{n}" for n in range(VARIABLES_LIMIT + 1)]}, "variables"),
    ],
)
def test_what_is_no_prompt(body: dict[str, Any], place: str) -> None:
    """What cannot be kept, or is out of its bounds, is refused at its place."""
    assert refusal(CreatePrompt, body)[0] == place


@pytest.mark.parametrize("version", [None, 0, -1, 10**9, "x"])
def test_update_needs_a_version(version: Any) -> None:
    """An update says which version it was made from."""
    assert refusal(UpdatePrompt, {"prompt": "x", "version": version})[0] == "version"


# Refer


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "id"),
        ({"id": "no.dots"}, "id"),
        ({"id": "pmpt_1", "version": "latest"}, "version"),
        ({"id": "pmpt_1", "version": "0"}, "version"),
        ({"id": "pmpt_1", "version": "1" * 10}, "version"),
        ({"id": "pmpt_1", "colour": "red"}, "colour"),
        ({"id": "pmpt_1", "variables": {"a b": "x"}}, "variables"),
        ({"id": "pmpt_1", "variables": {"a": 5}}, "variables"),
        ({"id": "pmpt_1", "variables": {"a": {"type": "input_audio"}}}, "variables"),
        ({"id": "pmpt_1", "variables": {"a": {"type": "input_image"}}}, "variables"),
        ({"id": "pmpt_1", "variables": {"a": {"type": "input_file", "filename": "x.pdf"}}}, "variables"),
        ({"id": "pmpt_1", "variables": {"a": {"type": "input_text", "text": "x", "colour": "red"}}}, "variables"),
    ],
)
def test_what_is_no_reference(body: dict[str, Any], place: str) -> None:
    """A reference that names no prompt, no version or no value is refused at its place."""
    assert refusal(PromptReference, body)[0] == place


def test_value_of_an_unknown_kind() -> None:
    """A value that is neither a text, an image nor a file is refused in words that say what it may be."""
    assert "a string, an input_text," in refusal(PromptReference, {"id": "pmpt_1", "variables": {"a": 5}})[1]


def test_reference_is_shown_as_it_came() -> None:
    """A reference can be shown as the client sent it, its texts still plain."""
    values = {"a": "x", "b": {"type": "input_text", "text": "y"}, "c": FILE}
    body = {"id": "pmpt_1", "version": "2", "variables": values}
    with_nulls = {**body, "variables": {**values, "c": {**FILE, "file_data": None}}}
    assert PromptReference.model_validate(with_nulls).model_dump(mode="json", exclude_none=True) == body


# Render


def test_texts_stand_in_for_placeholders() -> None:
    """A text stands in for each of its placeholders, however they are spaced; the version that was used is told."""
    rendered = render("{{a}} and {{ b }}, {{  a }}.", ["a", "b"], a="Ada", b={"type": "input_text", "text": "Bob"})
    assert rendered == RenderedPrompt("Ada and Bob, Ada.", [], 3)


def test_template_without_placeholders() -> None:
    """A prompt without placeholders is its own text."""
    assert render("Say {{ a-b }} and {c}.", []).text == "Say {{ a-b }} and {c}."


def test_values_are_not_substituted_again() -> None:
    """What a value holds is text, whatever it looks like: a placeholder, its own or another's, or a group's number."""
    rendered = render("{{a}}{{b}}", ["a", "b"], a="{{b}} {{ a }}", b=r"{{a}} \1 \g<0>")
    assert rendered.text == r"{{b}} {{ a }}{{a}} \1 \g<0>"


def test_media_leave_markers() -> None:
    """Images and files leave markers where they stood and come once each, in the order in which the text names them."""
    values: dict[str, Any] = {"photo": IMAGE, "report": FILE, "name": "Ada"}
    rendered = render("{{report}} of {{name}}: {{photo}}, {{report}}", ["name", "photo", "report"], **values)
    assert rendered.text == "[file: report] of Ada: [image: photo], [file: report]"
    assert rendered.media == [FILE, IMAGE]


def test_declared_but_unused() -> None:
    """A variable that is declared and not used needs no value; given one, only an image or a file can matter."""
    assert render("x", ["a"]) == RenderedPrompt("x", [], 3)
    assert render("x", ["a", "b"], a="y", b=IMAGE) == RenderedPrompt("x", [IMAGE], 3)


@pytest.mark.parametrize(
    ("values", "code", "named"),
    [
        ({}, "missing_prompt_variables", "a, b"),
        ({"b": "x"}, "missing_prompt_variables", "a"),
        ({"a": "x", "b": "x", "c": "x", "d": FILE}, "undeclared_prompt_variables", "c, d"),
    ],
)
def test_variables_that_do_not_fit(values: dict[str, Any], code: str, named: str) -> None:
    """Variables that are missing or not declared are refused by their names."""
    with pytest.raises(InvalidRequestError) as refused:
        render("{{ a }} {{ b }} {{ a }}", ["a", "b"], **values)
    assert (refused.value.code, refused.value.param) == (code, "prompt.variables")
    assert refused.value.message.endswith(f": {named}.")


def test_rendered_text_is_bounded() -> None:
    """A text that would be longer than a prompt may be is refused, and one that just fits is not."""
    half = "x" * (RENDERED_LIMIT // 2)
    assert len(render("{{a}}{{a}}", ["a"], a=half).text) == RENDERED_LIMIT
    with pytest.raises(InvalidRequestError) as refused:
        render("{{a}}{{a}}.", ["a"], a=half)
    assert refused.value.code == "prompt_too_long"
