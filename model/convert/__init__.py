"""Published weights into a base directory, the input that training starts from (`python -m model.convert --help`)."""
