"""How the embedded benchmark is drawn: people, their pictures, and the places they walk in."""
