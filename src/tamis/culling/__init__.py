"""Before training: which frames of a camera are worth a label, and the size that is enough."""
