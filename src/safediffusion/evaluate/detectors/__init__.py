"""What looks at a picture: World's judges, and a programmatic finder of shapes."""
