"""What the page does: drawing, maps, masks, a visitor's film. Knows nothing of Gradio."""
