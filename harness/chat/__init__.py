"""Chat templates: conversations, and the reference that every engine's rendering is held against."""
