"""The test that holds an app of one's own against the protocol."""

from listenproto import ListenVerb, Mode, Profile
from listenproto.testing import AppMachine, listen_verbs
from tests.examples.my_app import Menu


class MenuMachine(AppMachine):
    verbs = listen_verbs(Mode.CLIPS)
    keys = "12*#"  # those that do something are pressed most

    def make_app(self, verb: ListenVerb, profile: Profile) -> Menu:
        return Menu()


TestMenu = MenuMachine.TestCase
