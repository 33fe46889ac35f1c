"""The data plane: copying chunks, applying dirty keys, comparing rows. Everything here is made of connectors' verbs."""
