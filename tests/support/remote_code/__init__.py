"""A model that brings code of its own, as files to be copied into its folder."""
