"""What a training costs on devices that are not here: memory, time and money, by arithmetic alone."""
