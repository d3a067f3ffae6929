"""How Django writes dates and times where nobody says otherwise, as in the admin."""
