"""Parts of a message become content parts of a chat completion."""

from typing import Any

import pytest

from turnstream_worker.chat_parts import chat_part


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "input_text", "text": "a"}, {"type": "text", "text": "a"}),
        ({"type": "output_text", "text": "a", "annotations": []}, {"type": "text", "text": "a"}),
        (
            {"type": "input_image", "image_url": "data:x", "detail": "low"},
            {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}},
        ),
        ({"type": "input_image", "image_url": "data:x"}, {"type": "image_url", "image_url": {"url": "data:x"}}),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:x"},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:x"}},
        ),
        ({"type": "input_video", "video_url": "data:x"}, {"type": "video_url", "video_url": {"url": "data:x"}}),
    ],
)
def test_parts(part: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each kind of part has its own form; an image's detail is passed on if it was given."""
    assert chat_part(part) == expected
