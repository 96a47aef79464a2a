"""What the pages are made of: templates, static files and the words of each language.

Installed as ``pyoco_server.web`` and read with ``importlib.resources.files("pyoco_server.web")``.
"""
