"""The API reference: ``python -m tests.reference FOLDER`` writes its pages."""
