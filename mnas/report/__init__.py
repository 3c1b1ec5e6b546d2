"""What people look at: the data of a report as plain JSON, and the page that shows it."""
