package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"elemental/core"
	"elemental/ports"
)

// subject is a host or machine that is to be asked, with the host that will have to carry it out.
type subject struct {
	ports.Target
	host   *ports.Target // nil: there is none, or it could not be read
	unread error         // why it could not be read
}

// subjects are all that are selected. It is an error if nothing is.
func (u *upgrade) subjects(ctx context.Context) ([]subject, error) {
	targets, err := u.operator.List(ctx, u.whom)
	switch {
	case err != nil:
		return nil, err
	case len(targets) == 0 && u.whom.Labels != "":
		return nil, fmt.Errorf("no %s of this namespace has the labels %s: nothing was asked", u.whom.Kind, u.whom.Labels)
	case len(targets) == 0:
		return nil, fmt.Errorf("there are no %ss in this namespace: nothing was asked", u.whom.Kind)
	}
	hosts, unread := u.hosts(ctx, targets)
	subjects := make([]subject, len(targets))
	for i, t := range targets {
		subjects[i] = subject{Target: t, host: hosts[t.Host], unread: unread}
		if t.Kind != core.KindMachine {
			subjects[i].host = &targets[i]
		}
	}
	return subjects, nil
}

// hosts are those that serve machines, by their names. Whoever may ask a machine need not be allowed to read
// its host; then there is nothing to check.
func (u *upgrade) hosts(ctx context.Context, machines []ports.Target) (map[string]*ports.Target, error) {
	hosts := map[string]*ports.Target{}
	for _, m := range machines {
		if m.Kind == core.KindMachine && m.Host != "" {
			hosts[m.Host] = nil
		}
	}
	if len(hosts) == 0 {
		return hosts, nil
	}
	all, err := u.operator.List(ctx, ports.Selection{Kind: core.KindHost})
	for i := range all {
		if _, wanted := hosts[all[i].Name]; wanted {
			hosts[all[i].Name] = &all[i]
		}
	}
	return hosts, err
}

// serving refuses to ask hosts that serve machines, and says whom to ask instead.
func (u *upgrade) serving(subjects []subject) error {
	var hosts, machines []string
	for _, s := range subjects {
		if s.Machine != "" {
			hosts, machines = append(hosts, s.Name), append(machines, s.Machine)
		}
	}
	namespace := subjects[0].Namespace
	command := fmt.Sprintf("elemental upgrade machine -n %s %s %s", namespace, strings.Join(machines, " "), u.request.flags())
	switch len(hosts) {
	case 0:
		return nil
	case 1:
		return cli.Exit(fmt.Sprintf("host %s/%s serves the machine %s, which says what it runs: nothing was asked. Ask that:\n  %s",
			namespace, hosts[0], machines[0], command), exitMachine)
	default:
		return cli.Exit(fmt.Sprintf("%d hosts serve machines, which say what they run (%s): nothing was asked. Ask those:\n  %s",
			len(hosts), strings.Join(hosts, ", "), command), exitMachine)
	}
}

// verdict holds what a subject would be asked for against the schema that its host has published. It is not
// known where there is no schema.
func (u *upgrade) verdict(s subject, document []byte) (known bool, err error) {
	if s.host == nil || s.host.Schema == nil {
		return false, nil
	}
	return true, u.verdicts.of(s.host.Schema, document)
}

// unchecked says why there is no schema.
func (s subject) unchecked() string {
	switch {
	case s.host == nil && s.Host == "":
		return "no host serves it yet"
	case s.unread != nil:
		return fmt.Sprintf("host %s could not be read: %s", s.Host, plain(s.unread.Error()))
	case s.host == nil:
		return fmt.Sprintf("there is no host %s", s.Host)
	default:
		return fmt.Sprintf("host %s has published no schema of its plugin", s.host.Name)
	}
}

// refuse says where what is to be asked for is not valid. Then nothing is asked of any.
func (u *upgrade) refuse(subjects []subject) error {
	if u.unvalidated {
		return nil
	}
	var wrong []string
	for _, s := range subjects {
		document, err := u.request.result(s.Asked)
		if err != nil {
			return fmt.Errorf("%s: %w", nameOf(s.Target), err)
		}
		_, verdict := u.verdict(s, document)
		var failure core.Failure
		switch {
		case errors.As(verdict, &failure):
			wrong = append(wrong, fmt.Sprintf("%s: %s", nameOf(s.Target), plain(failure.Error())))
		case verdict != nil:
			fmt.Fprintf(u.errs, "%s: what it is asked for is not checked: %s\n", nameOf(s.Target), plain(verdict.Error()))
		}
	}
	const anyway = "nothing was asked; --validate=false leaves the checking to the hosts"
	switch len(wrong) {
	case 0:
		return nil
	case 1:
		return cli.Exit(fmt.Sprintf("%s: %s", wrong[0], anyway), exitFailed)
	default:
		return cli.Exit(fmt.Sprintf("what %d of %d would be asked for is not valid: %s\n  %s", len(wrong), len(subjects), anyway, strings.Join(wrong, "\n  ")), exitFailed)
	}
}

// warn says which hosts will do nothing until someone arms them.
func (u *upgrade) warn(subjects []subject) {
	var names []string
	for _, s := range subjects {
		document, err := u.request.result(s.Asked)
		if s.host != nil && unarmed(*s.host) && (err != nil || !s.settled(document)) {
			names = append(names, s.host.Name)
		}
	}
	command := armCommand(subjects[0].Namespace, names...)
	switch {
	case len(names) == 0:
	case len(subjects) == 1 && u.whom.Kind == core.KindHost:
		fmt.Fprintf(u.errs, "The host is a node of a cluster: nothing happens until its label is pending. Drain the node, then\n  %s\n", command)
	case len(names) == 1:
		fmt.Fprintf(u.errs, "Host %s is a node of a cluster: nothing happens there until its label is pending. Drain the node, then\n  %s\n", names[0], command)
	default:
		fmt.Fprintf(u.errs, "%d hosts are nodes of a cluster: nothing happens there until their label is pending. Drain each node, then\n  %s\n", len(names), command)
	}
}

// unarmed says that a host is a node that must not be updated.
func unarmed(host ports.Target) bool {
	return host.Bootstrapped && host.Label != core.LabelPending
}

// settled says that a subject asks for a document already, and that it runs.
func (s subject) settled(document []byte) bool {
	hash, err := core.HashRequest(document)
	return err == nil && hash == s.Requested && core.Wait(s.Generation, hash, s.Standing).End == core.WaitApplied
}

func armCommand(namespace string, hosts ...string) string {
	return fmt.Sprintf("kubectl label elementalhost -n %s %s --overwrite %s=%s", namespace, strings.Join(hosts, " "), core.LabelInPlaceUpdate, core.LabelPending)
}
