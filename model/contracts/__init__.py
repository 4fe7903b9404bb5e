"""The hand-overs between steps: versioned schemas, standard library and pydantic only (a test holds this)."""
