"""The tabs of the application, one per file, and its dialogs."""
