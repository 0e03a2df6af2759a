"""lossrank."""
