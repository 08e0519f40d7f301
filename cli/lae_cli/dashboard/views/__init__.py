"""The tabs of the application, one a file, and its dialogs."""
