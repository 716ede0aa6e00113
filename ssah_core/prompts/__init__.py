"""Prompt sets: reading them, rendering them as chats, batching them by length."""
