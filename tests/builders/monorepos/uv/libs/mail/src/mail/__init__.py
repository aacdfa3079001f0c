import iniconfig


def sent() -> str:
    return iniconfig.__name__
