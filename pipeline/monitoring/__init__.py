"""What a served model was asked and answered, kept and compared with what it was trained and tested on."""
