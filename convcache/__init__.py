"""convcache."""
