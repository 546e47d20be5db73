"""What families are built from where that is a chapter of its own: documents, word pieces, schemes of masking."""
