"""`sluice report`: what the gates of a lake saw, as a static site for people and as one JSON document for machines."""
