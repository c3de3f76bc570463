"""The commands, each in a module with `main`; `dsb2018.commands.main` chooses one."""
