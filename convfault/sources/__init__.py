"""Where the pictures of a data set come from; ``convfault.dataset`` is the noun that the rest of convfault uses."""
