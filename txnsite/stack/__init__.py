"""Development servers and the processes around them: for `make run`, the tests and the bench, never for production."""
