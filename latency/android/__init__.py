"""Android phones over adb: profiles, installation, sessions, and the phone itself."""
