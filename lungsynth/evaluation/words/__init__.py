"""Whether pictures show what their prompts asked for."""
