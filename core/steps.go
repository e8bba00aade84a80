package core

import (
	"fmt"
	"strings"
	"time"
)

// What people do about hosts. Every command can be typed as it stands but for the words in capitals.

const agentLog = "journalctl -u elemental-agent"

func nothingToDo(Case) []Step { return nil }

func letItGoOn(Case) []Step {
	return []Step{
		{Text: "Nothing: it goes on by itself. If it does not, look on the host:", Command: agentLog},
	}
}

func lookForAgent(Case) []Step {
	return []Step{
		{Text: "Check the host's power and network. Then, on the host, see whether the agent runs:", Command: "systemctl status elemental-agent"},
		{Text: "and what it says:", Command: agentLog},
	}
}

func readAgentLog(c Case) []Step {
	return []Step{
		{Text: "On the host, see what went wrong:", Command: agentLog},
		retryStep("It is tried again by itself, ever more slowly. To have it tried at once:", c),
	}
}

// giveUp lets a host go that can't be reset any more.
func giveUp(c Case) Step {
	return Step{
		Text:    "If the machine is gone for good, let the cluster forget it without a reset:",
		Command: kubectl("annotate elementalhost", c, c.Name, "--overwrite", AnnotationForceDelete+"=true"),
	}
}

func giveUpOrLook(c Case) []Step { return append(lookForAgent(c), giveUp(c)) }

func resetAnew(c Case) []Step {
	return []Step{
		{Text: "On the host, see why its plugin does not end a reset:", Command: agentLog},
		retryStep("Once that is mended, let it be begun again:", c),
		giveUp(c),
	}
}

func installIt(Case) []Step {
	return []Step{{Text: "On the host, install its system:", Command: "elemental agent install"}}
}

func mendReset(c Case) []Step { return append(readAgentLog(c), giveUp(c)) }

func seePolicy() Step {
	return Step{
		Text:    "The policy lies on the host, and nothing in the cluster changes it. Whoever runs the host may allow this:",
		Command: "cat /etc/elemental/policy.yaml",
	}
}

func allowReset(c Case) []Step {
	return []Step{
		seePolicy(),
		retryStep("Once it is allowed, ask for the same again:", c),
		giveUp(c),
	}
}

func mendCloudConfig(c Case) []Step {
	return []Step{
		{Text: "On the host, see what went wrong:", Command: agentLog},
		{Text: "The cloud config is spec.config.cloudConfig of the host's ElementalRegistration; a host takes up another when it joins anew."},
		retryStep("It is tried again by itself, ever more slowly. To have it tried at once:", c),
	}
}

func checkIdentity(c Case) []Step {
	return []Step{{
		Text:    fmt.Sprintf("On the host, cluster.namespace must be %s and cluster.host must be %s:", c.Namespace, c.Name),
		Command: "cat /etc/elemental/agent.yaml",
	}}
}

func unpause(c Case) []Step {
	return []Step{
		{Text: "Take the annotation off the host, if it has it:", Command: kubectl("annotate elementalhost", c, c.Name, "cluster.x-k8s.io/paused-")},
	}
}

func lookForController(Case) []Step {
	return []Step{{Text: "If this lasts, see whether the controller runs:", Command: "kubectl get pods -n elemental-system"}}
}

func learnFromBoot(c Case) []Step {
	return append([]Step{
		{Text: "On the host, see what the boot that failed said last:", Command: "journalctl -b -1"},
		askOther("Then ask for another version:", c),
	}, again("or for the same one again:", c)...)
}

func correctRequest(c Case) []Step {
	field := "osVersionManagement"
	if c.Path != "" {
		field += ", which the host refuses for its field " + c.Path
	}
	return []Step{askOther("Correct "+field+":", c)}
}

func changePolicy(c Case) []Step {
	return append([]Step{
		seePolicy(),
		askOther("Or ask for something else:", c),
	}, again("Once it is allowed, ask for the same again:", c)...)
}

func mendAndRetry(c Case) []Step {
	return append([]Step{
		{Text: "On the host, see what went wrong:", Command: agentLog},
	}, again("Once that is mended, ask for the same again:", c)...)
}

func awaitNext(c Case) []Step {
	when := "Nothing, if the message above says enough: it is tried again by itself."
	if !c.Next.IsZero() {
		when = "Nothing, if the message above says enough: it is tried again at " + c.Next.UTC().Format(time.RFC3339) + "."
	}
	return append([]Step{{Text: when}}, again("To have it tried at once:", c)...)
}

func arm(c Case) []Step {
	return []Step{
		{Text: "In the cluster of which it is a node, drain it:", Command: "kubectl drain " + word(c.Name) + " --ignore-daemonsets --delete-emptydir-data"},
		{Text: "Then let the host update:", Command: kubectl("label elementalhost", c, c.Name, "--overwrite", LabelInPlaceUpdate+"="+string(LabelPending))},
	}
}

func drain(c Case) []Step { return arm(c)[:1] }

func drainByHand(c Case) []Step {
	steps := drain(c)
	if c.Machine != "" {
		steps = append(steps, Step{
			Text: "Then say that you have:",
			Command: kubectl("patch elementalmachine", c, c.Machine, "--type=merge",
				"-p", `'{"spec":{"inPlaceUpdate":{"drain":"Manual"}}}'`),
		})
	}
	return steps
}

func awaitReboot(Case) []Step {
	return []Step{{Text: "Nothing: it restarts by itself. If it does not, see on the host what holds it up:", Command: "systemd-inhibit --list"}}
}

func readBootstrapLog(c Case) []Step {
	return []Step{
		{Text: "On the host, see what kept it from joining:", Command: "journalctl -b -u cloud-final -u kubelet"},
		retryStep("Once that is mended, and if it is not tried by itself:", c),
	}
}

func readConditions(c Case) []Step {
	return []Step{{Text: "See its conditions:", Command: kubectl("describe elementalhost", c, c.Name)}}
}

// again is how to have the same version tried once more: a node must be allowed to, which asks anew by itself.
func again(text string, c Case) []Step {
	if mayUpdate(c) {
		return []Step{retryStep(text, c)}
	}
	steps := arm(c)
	steps[0].Text = text + " drain the node, in its own cluster,"
	steps[1].Text = "and let the host update once more:"
	return steps
}

func retryStep(text string, c Case) Step {
	return Step{Text: text, Command: "elemental retry " + word(c.Name) + " -n " + word(c.Namespace)}
}

// askOther is how to ask for another version, of whoever says what the host runs.
func askOther(text string, c Case) Step {
	switch {
	case c.Machine != "" && c.Plugin == pluginImage:
		return Step{text, kubectl("patch elementalmachine", c, c.Machine, "--type=merge",
			"-p", `'{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"IMAGE"}}}}'`)}
	case c.Machine != "":
		return Step{text, kubectl("edit elementalmachine", c, c.Machine)}
	case c.Plugin == pluginImage:
		return Step{text, "elemental upgrade host " + word(c.Name) + " -n " + word(c.Namespace) + " --image IMAGE"}
	default:
		return Step{text, kubectl("edit elementalhost", c, c.Name)}
	}
}

// pluginImage is the plugin whose versions are images.
const pluginImage = "image"

func kubectl(verb string, c Case, name string, rest ...string) string {
	return strings.Join(append([]string{"kubectl", verb, "-n", word(c.Namespace), word(name)}, rest...), " ")
}

// word makes one word of a name for a shell, also of one that no cluster should let in.
func word(name string) string {
	strange := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-'
	}
	if name != "" && !strings.HasPrefix(name, "-") && !strings.ContainsFunc(name, strange) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
