package pid1

import (
	"elemental/adapters/deploy/reset"
)

// carryOutReset carries out the reset that was triggered for a deployment, if one was. Where it can't, the host is as it
// was and starts as it would have.
func carryOutReset(id string, say func(string)) {
	done, err := reset.CarryOut(elementalFolder, id)
	switch {
	case err != nil:
		say("elemental init: " + err.Error())
	case done:
		say("elemental init: the host has a fresh /var and /etc")
	}
}
