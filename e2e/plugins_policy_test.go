package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestPluginsPolicy tells how a host has the last word on which images it takes, and by which plugin.
func TestPluginsPolicy(t *testing.T) {
	s := newSetting(t)
	defer told(t, time.Now())
	st := s.withMachine(t)
	st.ask(s.v1.Reference)
	st.waitReady()
	boots, round := len(st.machine.Boots()), 0
	rule := func(rules string) {
		t.Helper()
		round++
		st.exec("echo '" + rules + "' > /etc/elemental/policy.yaml")
		st.mustKubectl("annotate", "elementalhost", st.name, "--overwrite", "elementalhost.infrastructure.cluster.x-k8s.io/retry="+strconv.Itoa(round))
	}
	denied := func(name string, says ...string) {
		t.Helper()
		h := st.await("the rule "+name+" denies it", func(h host) bool {
			return refused("PolicyDenied")(h) && strings.Contains(h.condition("OSVersionReady").Message, "the rule "+name+" of this host")
		})
		st.contains("the condition", h.condition("OSVersionReady").Message, append(says, "/etc/elemental/policy.yaml")...)
		st.equal("the class of the failure", h.Status.OSVersion.Failure.Class, "invalid")
	}
	rule("images: {registries: [registry.example.com, /srv/images]}")
	st.ask(s.v2.Reference)
	denied("images.registries", "takes no images from", strings.Split(strings.TrimPrefix(s.v2.Reference, "oci://"), ":")[0])
	rule("images: {downgrade: deny}")
	denied("images.downgrade", "can't be compared", "no label org.opencontainers.image.version")
	rule("plugins: [packages]")
	denied("plugins", "the plugin image")
	rule("plugins: {image: true}")
	h := st.await("the policy can't be read", func(h host) bool {
		return strings.Contains(h.condition("OSVersionReady").Message, "reading the host's policy /etc/elemental/policy.yaml")
	})
	st.equal("OSVersionReady", h.condition("OSVersionReady").Status, "False")
	st.equal("the number of boots", len(st.machine.Boots()), boots)
	st.equal("what runs", st.runs(), "v1")

	rule("plugins: [image]")
	st.waitReady()
	st.equal("what runs", st.runs(), "v2")
	st.equal("the number of boots", len(st.machine.Boots()), boots+1)
}
