//! Nothing: the package is its tests, which need a library to be one of a workspace.
