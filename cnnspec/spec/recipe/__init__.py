"""Training recipes: everything about training a network but the network itself.

`docs/recipes.md` is made from the models here: their docstrings are the normative meaning of a recipe, for
every framework.
"""

from cnnspec.spec.recipe.model import Recipe as Recipe
from cnnspec.spec.recipe.read import load_recipe as load_recipe
