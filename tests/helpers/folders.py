"""What a folder holds."""


def content(folder):
    """Every file below a folder, hidden ones too; folders that are empty as well."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") if path.is_file() else "(folder)"
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }
