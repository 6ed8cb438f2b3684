"""Webhooks under fire: receivers that fail, hang, restart or want no more, and couriers that are killed."""
