"""Parts of a message as a chat completion takes them."""

from typing import Any

from turnstream.attachment import Part


def chat_part(part: Part) -> dict[str, Any]:
    """Return a part, its attachment resolved, as a content part of a chat completion.

    `image_url` and `file` are OpenAI's; `video_url` is what vLLM and others add to them.
    """
    match part["type"]:
        case "input_image":
            image = {"url": part["image_url"]}
            if part.get("detail"):
                image["detail"] = part["detail"]
            return {"type": "image_url", "image_url": image}
        case "input_file":
            return {"type": "file", "file": {"filename": part["filename"], "file_data": part["file_data"]}}
        case "input_video":
            return {"type": "video_url", "video_url": {"url": part["video_url"]}}
        case _:
            return {"type": "text", "text": part["text"]}
