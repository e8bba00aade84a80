package kubernetes

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/adapters/kubernetes/identity"
	"elemental/core"
)

// story runs one attack that is more than a single request.
func (s *siege) story(t *testing.T, name string, tell func(t *testing.T)) {
	s.part(t, "stories/"+name, tell)
}

// impersonate tries to be someone else by asking for it.
func (s *siege) impersonate(t *testing.T) {
	for name, header := range map[string]http.Header{
		"another host":      {"Impersonate-User": {"system:serviceaccount:" + s.namespace + ":elemental-host-b"}},
		"the administrator": {"Impersonate-User": {"admin"}, "Impersonate-Group": {"system:masters"}},
		"the controller":    {"Impersonate-User": {"system:serviceaccount:elemental-system:elemental-controller-manager"}},
	} {
		for _, who := range []string{"a", "r1", "controller"} {
			s.story(t, who+" impersonates "+name, func(t *testing.T) {
				code, answer, err := s.send(who, "GET", "hosts/b", "", header)
				if err != nil || code != http.StatusForbidden || !strings.Contains(answer, "impersonate") {
					t.Errorf("it was answered with %d (%v): %s", code, err, answer)
				}
			})
		}
	}
}

// showFalseTokens tries tokens that the cluster did not give out like that.
func (s *siege) showFalseTokens(t *testing.T) {
	s.falseTokens()
	for who := range s.tokens {
		code := http.StatusUnauthorized
		switch who {
		case "nobody", "a", "b", "c", "d", "r1", "r2", "manual", "few", "controller":
			continue
		case "the same, signed again": // The others fail for what they say, and not for how this test signs.
			code = http.StatusNotFound
		}
		s.story(t, "a token that is "+who, func(t *testing.T) {
			if err := s.expect(who, "GET", "requests/none", "", code); err != nil {
				t.Error(err)
			}
		})
	}
}

// demand is a request to join as JSON.
func demand(name, spec, more string) string {
	return fmt.Sprintf(`{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalHostRequest","metadata":{"name":%q},"spec":%s%s}`, name, spec, more)
}

// joinFalsely sends requests to join that are not as they should be.
func (s *siege) joinFalsely(t *testing.T) {
	public := func() (hash, text string) {
		key, err := identity.NewKey()
		s.NoErr(err)
		return identity.Hash(key.Public()), base64.StdEncoding.EncodeToString(key.Public())
	}
	spec := func(registration, key, more string) string {
		return fmt.Sprintf(`{"registration":%q,"publicKey":%q%s}`, registration, key, more)
	}
	hash, key := public()
	s.try(t, "requests", []attack{
		{"through another registration", "r1", "POST", "requests", demand(hash, spec("r2", key, ""), ""), forbidden, "through that registration alone, and not through r2"},
		{"through one that does not exist", "r1", "POST", "requests", demand(hash, spec("none", key, ""), ""), forbidden, "through that registration alone"},
		{"with a name of 300 characters", "r1", "POST", "requests", demand(strings.Repeat("a", 300), spec("r1", key, ""), ""), invalid, "metadata.name"},
		{"with a wished name of 300 characters", "r1", "POST", "requests", demand(hash, spec("r1", key, `,"hostname":"`+strings.Repeat("a", 300)+`"`), ""), invalid, "hostname"},
		{"with a serial number of 300 characters", "r1", "POST", "requests", demand(hash, spec("r1", key, `,"serialNumber":"`+strings.Repeat("a", 300)+`"`), ""), invalid, "serialNumber"},
		{"with a serial number that moves the cursor", "r1", "POST", "requests", demand(hash, spec("r1", key, `,"serialNumber":"S\u001b[2J\u0007"`), ""), invalid, "serialNumber"},
		{"with a wished name that moves the cursor", "r1", "POST", "requests", demand(hash, spec("r1", key, `,"hostname":"a\u001b[2J"`), ""), invalid, "hostname"},
		{"with a key of 300 characters", "r1", "POST", "requests", demand(hash, spec("r1", strings.Repeat("A", 300), ""), ""), invalid, "publicKey"},
		{"with no key", "r1", "POST", "requests", demand(hash, `{"registration":"r1"}`, ""), invalid, "publicKey"},
		{"in another namespace", "r1", "POST", "/apis/infrastructure.cluster.x-k8s.io/v1beta1/namespaces/default/elementalhostrequests", demand(hash, spec("r1", key, ""), ""), forbidden, ""},
	})
	waits := func(name, who, request, key, more, reason string) {
		s.story(t, name, func(t *testing.T) {
			if err := s.expect(who, "POST", "requests", demand(request, spec(who, key, ""), more), http.StatusCreated); err != nil {
				t.Fatal(err)
			}
			asked := s.answered(request)
			if err := condition(asked.Status.Conditions, v1beta1.ConditionAdmitted, metav1.ConditionFalse, reason, 1); err != nil {
				t.Error(err)
			}
			if asked.Status.Credentials != nil || asked.Status.Replaces != "" {
				t.Errorf("it was given %v", asked.Status)
			}
		})
	}
	waits("a name that is not the key's hash", "r1", strings.Repeat("0", 64), key, "", core.ReasonKeyMismatch)
	waits("a key that is none", "r1", strings.Repeat("1", 64), strings.Repeat("!", 44), "", core.ReasonKeyMismatch)
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", key[42])
	other := key[:42] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[last+1]) + "="
	waits("a key that is spelled otherwise, so that its host is not found", "r1", hash, other, "", core.ReasonKeyMismatch)
	approved := `{"conditions":[{"type":"Approved","status":"True","reason":"Me","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}],"replaces":"a","hostName":"a"}`
	hash, key = public()
	waits("one that bears its approval already", "manual", hash, key, `,"status":`+approved, core.ReasonWaitingForApproval)
	pending := "requests/" + hash
	s.try(t, "pending", []attack{
		{"approves itself", "manual", "MERGE", pending + "/status", `{"status":` + approved + `}`, forbidden, ""},
		{"changes its spec", "manual", "MERGE", pending, `{"spec":{"hostname":"b"}}`, forbidden, ""},
		{"takes itself back", "manual", "DELETE", pending, "", forbidden, ""},
		{"is approved by a host", "a", "MERGE", pending + "/status", `{"status":` + approved + `}`, forbidden, ""},
		{"is read by a host", "a", "GET", pending, "", forbidden, ""},
		{"is posted again with another name", "manual", "POST", "requests", demand(hash, spec("manual", key, `,"hostname":"b"`), ""), conflict, "already exists"},
		{"is taken by another registration", "r1", "POST", "requests", demand(hash, spec("r1", key, ""), ""), conflict, "already exists"},
	})
	s.story(t, "nobody changes a request, not even the administrator", func(t *testing.T) {
		_, err := s.kubectl("patch", "elementalhostrequest", hash, "--type=merge", "-p", `{"spec":{"hostname":"b"}}`)
		if err := refused(err, "a request to join never changes"); err != nil {
			t.Error(err)
		}
	})
}

func (s *siege) answered(request string) *v1beta1.ElementalHostRequest {
	s.t.Helper()
	return s.answer(s.admin, &v1beta1.ElementalHostRequest{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: request}})
}

// stories are told last, since they change who there is.
func (s *siege) stories(t *testing.T) {
	s.story(t, "another's request tells what is sealed, and no more", s.readAnothersRequest)
	s.story(t, "sealed credentials are of one key, host and request", s.openAnothers)
	s.story(t, "a taken name stays with its host", s.takeName)
	s.story(t, "the name of a leader election is not given to a host", s.takeSystemName)
	s.story(t, "many who come at once are no more than maxHosts", s.overrun)
	s.story(t, "who was revoked finds no credentials in an old answer", s.revokedAgain)
	s.story(t, "a host that is replaced loses the identity that it had by hand", s.replaceByHand)
	s.story(t, "a token ends with the account that it was made for, and the bundle gets another", s.deleteAccount)
	s.story(t, "a token without an end ends with its Secret, and the bundle lets go of it", s.deleteLongLived)
	s.story(t, "a registration does not hand out the token of another", s.borrowToken)
	s.story(t, "a token does not follow a redirection", s.redirect)
	s.story(t, "a token is not shown to a server that nobody vouches for", s.wrongCA)
}

func (s *siege) readAnothersRequest(t *testing.T) {
	code, answer, err := s.send("r2", "GET", "requests/"+s.requests["a"].Name, "", nil)
	if err != nil || code != http.StatusOK {
		t.Fatalf("it was answered with %d (%v)", code, err)
	}
	token := s.opened("a").Token
	if strings.Contains(answer, token) || strings.Contains(answer, base64.StdEncoding.EncodeToString([]byte(token))) || strings.Contains(answer, "eyJ") {
		t.Error("it tells the token of the host")
	}
}

func (s *siege) openAnothers(t *testing.T) {
	sealed := s.requests["a"].Status.Credentials.Sealed
	mine, of := s.keys["a"], s.purpose("a")
	host, request := of, of
	host.Host, request.Request = "b", s.purpose("b").Request
	for name, open := range map[string]func() (identity.Credentials, error){
		"another key":     func() (identity.Credentials, error) { return s.keys["b"].Open(sealed, of) },
		"another host":    func() (identity.Credentials, error) { return mine.Open(sealed, host) },
		"another request": func() (identity.Credentials, error) { return mine.Open(sealed, request) },
		"another's answer": func() (identity.Credentials, error) {
			return mine.Open(s.requests["b"].Status.Credentials.Sealed, s.purpose("b"))
		},
	} {
		if _, err := open(); err == nil {
			t.Errorf("it was opened with %s", name)
		}
	}
}

// newcomer asks to join under a name, and returns the answer.
func (s *siege) newcomer(t *testing.T, registration, name string) *v1beta1.ElementalHostRequest {
	t.Helper()
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	asked, err := s.ask(s.as(s.tokens[registration]), key, v1beta1.ElementalHostRequestSpec{Registration: registration, Hostname: name})
	if err != nil {
		t.Fatal(err)
	}
	s.keys[asked.Name] = key
	return s.answered(asked.Name)
}

func (s *siege) takeName(t *testing.T) {
	before := s.host("b")
	if got := s.newcomer(t, "r1", "b").Status.HostName; got == "b" || !strings.HasPrefix(got, "b-") {
		t.Errorf("it became host %q", got)
	}
	if after := s.host("b"); after.UID != before.UID || after.Spec.PubKey != before.Spec.PubKey {
		t.Error("host b was changed")
	}
}

func (s *siege) takeSystemName(t *testing.T) {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: leaderElectionID}}
	s.NoErr(s.admin.Create(t.Context(), lease))
	got := s.newcomer(t, "r1", leaderElectionID).Status.HostName
	if got == leaderElectionID || got == "" {
		t.Errorf("it became host %q", got)
	}
	err := s.admin.Get(t.Context(), s.key(leaderElectionID), &v1beta1.ElementalHost{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("there is a host %s: %v", leaderElectionID, err)
	}
}

func (s *siege) overrun(t *testing.T) {
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			key, err := identity.NewKey()
			if err == nil {
				_, err = s.ask(s.as(s.tokens["few"]), key, v1beta1.ElementalHostRequestSpec{Registration: "few", Hostname: fmt.Sprintf("few-%d", i)})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s.eventually(func() error {
		asked := &v1beta1.ElementalHostRequestList{}
		if err := s.admin.List(t.Context(), asked, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		admitted, turned := 0, 0
		for _, a := range asked.Items {
			c := meta.FindStatusCondition(a.Status.Conditions, v1beta1.ConditionAdmitted)
			switch {
			case a.Spec.Registration != "few" || c == nil:
			case c.Status == metav1.ConditionTrue:
				admitted++
			case c.Reason == core.ReasonTooManyHosts && strings.Contains(c.Message, "raise spec.maxHosts"):
				turned++
			}
		}
		if admitted+turned != 12 {
			return fmt.Errorf("%d were let in and %d turned away", admitted, turned)
		}
		if admitted != 2 {
			t.Fatalf("%d were let in, and 2 may be", admitted)
		}
		return nil
	})
}

func (s *siege) revokedAgain(*testing.T) {
	s.eventually(func() error {
		asked := s.answered(s.requests["d"].Name)
		if asked.Status.Credentials != nil {
			return errors.New("it still holds credentials")
		}
		return condition(asked.Status.Conditions, v1beta1.ConditionAdmitted, metav1.ConditionFalse, core.ReasonRevoked, 1)
	})
}

func (s *siege) replaceByHand(t *testing.T) {
	if err := s.expect("c", "GET", "hosts/c", "", http.StatusOK); err != nil {
		t.Fatal(err)
	}
	asked := s.newcomer(t, "manual", "c")
	_, err := s.kubectl("patch", "elementalhostrequest", asked.Name, "--subresource=status", "--type=merge", "-p",
		`{"status":{"replaces":"c","conditions":[{"type":"Approved","status":"True","reason":"Trusted","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
	s.NoErr(err)
	s.eventually(func() error {
		if asked = s.answered(asked.Name); asked.Status.HostName != "c" {
			return errors.New("it has not the place of host c")
		}
		return s.expect("c", "GET", "hosts/c", "", http.StatusUnauthorized)
	})
	credentials, err := s.keys[asked.Name].Open(asked.Status.Credentials.Sealed, identity.Purpose{Namespace: s.namespace, Host: "c", Request: string(asked.UID)})
	s.NoErr(err)
	s.tokens["the new c"] = credentials.Token
	s.eventually(func() error { return s.expect("the new c", "GET", "hosts/c", "", http.StatusOK) })
}

// bundled waits until the bundle of a registration holds another token than the one given, and that one serves.
func (s *siege) bundled(registration, before string) string {
	s.t.Helper()
	bundle := &corev1.Secret{}
	s.eventually(func() error {
		s.NoErr(s.admin.Get(s.t.Context(), s.key(RegistrationAccount(registration)), bundle))
		if string(bundle.Data[BundleToken]) == before {
			return errors.New("the bundle holds a token that is dead")
		}
		s.tokens["bundled"] = string(bundle.Data[BundleToken])
		return s.expect("bundled", "GET", "requests/none", "", http.StatusNotFound)
	})
	return string(bundle.Data[BundleToken])
}

// touch makes the controller look at a registration now, and not after a minute.
func (s *siege) touch(registration string) {
	_, err := s.kubectl("annotate", "--overwrite", "elementalregistration", registration, "example.com/touched="+time.Now().Format(time.RFC3339Nano))
	s.NoErr(err)
}

func (s *siege) deleteAccount(*testing.T) {
	_, err := s.kubectl("delete", "serviceaccount", RegistrationAccount("r2"))
	s.NoErr(err)
	s.eventually(func() error { return s.expect("r2", "GET", "requests/none", "", http.StatusUnauthorized) })
	s.bundled("r2", s.tokens["r2"])
}

// fill does what the cluster's controller manager does with Secrets of this type.
func (s *siege) fill(registration, token string) {
	s.eventually(func() error {
		_, err := s.kubectl("patch", "secret", RegistrationAccount(registration)+"-token", "--type=merge", "-p", fmt.Sprintf(`{"stringData":{"token":%q}}`, token))
		return err
	})
	s.touch(registration)
}

func (s *siege) deleteLongLived(t *testing.T) {
	spec := v1beta1.ElementalRegistrationSpec{}
	spec.Config.Elemental.Registration.LongLived = true
	s.NoErr(s.admin.Create(t.Context(), &v1beta1.ElementalRegistration{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "lasting"}, Spec: spec}))
	holds := func(token string) {
		s.eventually(func() error {
			bundle := &corev1.Secret{}
			if err := s.admin.Get(t.Context(), s.key(RegistrationAccount("lasting")), bundle); err != nil {
				return err
			}
			if got := string(bundle.Data[BundleToken]); got != token {
				return fmt.Errorf("the bundle holds %q", got)
			}
			return nil
		})
	}
	s.fill("lasting", "first")
	holds("first")
	_, err := s.kubectl("delete", "secret", "elemental-reg-lasting-token")
	s.NoErr(err)
	s.touch("lasting")
	holds("") // The next one is not there yet, and the dead one goes at once.
	s.fill("lasting", "second")
	holds("second")
	_, err = s.kubectl("patch", "elementalregistration", "lasting", "--type=merge", "-p", `{"spec":{"config":{"elemental":{"registration":{"longLived":false}}}}}`)
	s.NoErr(err)
	s.gone(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "elemental-reg-lasting-token"}})
	s.bundled("lasting", "second")
}

func (s *siege) borrowToken(t *testing.T) {
	s.world.open("other-token", v1beta1.ElementalRegistrationSpec{}) // Its bundle bears the name of the other's token Secret.
	spec := v1beta1.ElementalRegistrationSpec{}
	spec.Config.Elemental.Registration.LongLived = true
	s.NoErr(s.admin.Create(t.Context(), &v1beta1.ElementalRegistration{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "other"}, Spec: spec}))
	s.eventually(func() error {
		registration := &v1beta1.ElementalRegistration{}
		s.NoErr(s.admin.Get(t.Context(), s.key("other"), registration))
		c := meta.FindStatusCondition(registration.Status.Conditions, core.Ready)
		if c == nil || c.Status != metav1.ConditionFalse {
			return errors.New("it does not say that it is not ready")
		}
		return refused(errors.New(c.Message), "does not belong to the registration", "another name")
	})
	err := s.admin.Get(t.Context(), s.key(RegistrationAccount("other")), &corev1.Secret{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("it has a bundle: %v", err)
	}
}
