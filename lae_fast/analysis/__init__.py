"""What a trained model can do: each verb of the command line stands on one file here."""
