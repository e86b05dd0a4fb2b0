"""How each machine of the core is put through the contract: a module a package, each with a dictionary ``SUBJECTS``.

Its keys are ``module.Class`` below ``sansio``; its values are lists of subjects, for instance one a role.
"""
