"""Interactive views with a still face. They know tasks, runs and tables, and no family."""
from ..show.markup import embed as embed, page as page
from .view import Still as Still, View as View, film as film
from .view import here as here
