"""Labelling tools that are programs of their own: questions go there, answers come back."""
