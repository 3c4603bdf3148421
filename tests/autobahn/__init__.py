"""Echo endpoints of both roles, at which Autobahn's testsuite can be pointed."""
