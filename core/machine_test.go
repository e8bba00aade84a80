package core

import (
	"testing"

	"github.com/matryer/is"
)

func TestSumHostReady(t *testing.T) {
	served := Service{
		Generation: 7, Spoken: 6, Named: "h", Host: "h", Forwarded: true, HostGeneration: 3,
		Ready: Condition{Type: Ready, Status: True, Reason: ReasonHostReady, Message: "the host runs OS 2", Generation: 3},
	}
	for name, c := range map[string]struct {
		change     func(*Service)
		status     ConditionStatus
		reason     string
		generation int64
	}{
		"the host is what is asked":               {func(*Service) {}, True, ReasonHostReady, 7},
		"nothing is forwarded yet":                {func(s *Service) { s.Forwarded = false }, False, ReasonWaitingForOSReconcile, 6},
		"the host spoke of an older spec":         {func(s *Service) { s.Ready.Generation = 2 }, False, ReasonWaitingForOSReconcile, 6},
		"the host spoke of a spec that is gone":   {func(s *Service) { s.Ready.Generation = 9 }, False, ReasonWaitingForOSReconcile, 6},
		"the host says nothing":                   {func(s *Service) { s.Ready = Condition{} }, False, ReasonWaitingForOSReconcile, 6},
		"the host joins its cluster":              {func(s *Service) { s.Joining = true }, False, ReasonHostWaitsForBootstrap, 7},
		"the host serves another":                 {func(s *Service) { s.ServesElse = true }, False, ReasonNoHost, 7},
		"the host is gone":                        {func(s *Service) { s.Host = "" }, False, ReasonHostNotFound, 7},
		"there never was one":                     {func(s *Service) { s.Host, s.Named = "", "" }, False, ReasonNoHost, 7},
		"the host says why it is not ready":       {func(s *Service) { s.Ready.Status, s.Ready.Reason = False, ReasonRolledBack }, False, ReasonRolledBack, 7},
		"the host is silent, which is no failure": {func(s *Service) { s.Ready.Status, s.Ready.Reason = Unknown, ReasonNotSeen }, Unknown, ReasonNotSeen, 7},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			s := served
			c.change(&s)
			got := SumHostReady(s)
			is.Equal(got.Type, HostReady)
			is.Equal(got.Status, c.status)
			is.Equal(got.Reason, c.reason)
			is.Equal(got.Generation, c.generation)
			is.True(got.Message != "")
		})
	}
}
