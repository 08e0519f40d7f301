"""The Textual application behind ``lae dashboard``: reads run folders, never torch."""
