"""
The words the rules look for. Every form is written out: nothing is cut to a stem, so that a striker is no strike.
"""

from typing import Final


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.replace("\n", " ").split(","))


KEYWORD_GROUPS: Final = {
    "climate": _phrases(
        """avalanche, blizzard, cyclone, cyclones, dense fog, drought, droughts, earthquake, earthquakes, el nino,
        el niño, flood, flooding, floods, fog, gale, heat wave, heatwave, high wind, hurricane, hurricanes, ice storm,
        la nina, la niña, landslide, low water, monsoon, quake, snowstorm, storm, storm surge, storms, tornado,
        tornadoes, tropical storm, tropical storms, tsunami, typhoon, typhoons, volcanic, volcano, water level,
        water levels, wildfire, wildfires, winter storm"""
    ),
    "conflict": _phrases(
        """air strike, air strikes, airstrike, airstrikes, armed conflict, attack, attacked, attacks, blockade,
        blockaded, blockades, ceasefire, conflict, conflicts, coup, drone strike, drone strikes, escalation, hijack,
        hijacked, hijacking, hostage, hostages, hostilities, houthi, houthis, insurgency, insurgents, invade, invades,
        invasion, militant, militants, military, missile, missile strike, missile strikes, missiles, naval, navy,
        piracy, pirate, pirates, rebels, sea mines, seize, seized, seizes, seizure, seizures, terrorism, terrorist,
        troops, truce, war, warship, warships, wars"""
    ),
    "energy_freight": _phrases(
        """barrel, barrels, baltic dry index, brent, bunker fuel, charter rates, coal, container rates, crude,
        crude oil, diesel, electricity, energy, fbx, freight, freight index, freight rate, freight rates, fuel,
        gasoline, henry hub, lng, natural gas, oil, oil price, oil prices, opec, petroleum, refineries, refinery,
        scfi, spot rates, tanker rates, wti"""
    ),
    "infrastructure": _phrases(
        """aground, airspace closure, backlog, backlogs, berth, berths, blackout, bridge collapse, cable cut, canal,
        canals, cargo, chokepoint, chokepoints, closure, closures, congestion, container, containers, delay, delayed,
        delays, derailment, disruption, disruptions, diversion, diversions, draft restriction, draft restrictions,
        draught restrictions, dredging, grounding, harbor, harbour, logistics, outage, outages, pipeline, pipelines,
        port, ports, rail, railroad, railway, reroute, rerouted, rerouting, ship, shipment, shipments, shipping,
        ships, strait, straits, supply chain, supply chains, tanker, tankers, terminal, terminals, transit, transits,
        undersea cable, union pacific, vessel, vessels, waterway"""
    ),
    "labor": _phrases(
        """collective bargaining, crew shortage, dock worker, dock workers, dockworker, dockworkers, dockers, go slow,
        ila, ilwu, industrial action, labor, labor contract, labor dispute, labour, labour dispute, lockout, lockouts,
        longshore, longshoremen, picket, pickets, pilots union, seafarers, stevedores, strike, strikes, truckers,
        union, unions, walkout, walkouts, work stoppage, work stoppages"""
    ),
    "regulatory": _phrases(
        """antitrust, ban, banned, bans, canal tolls, carbon border, cbam, compliance, customs, duties,
        emissions trading, export licence, export license, import duty, inspection, inspections, jones act,
        legislation, permit, permits, port fee, port fees, quarantine, quota, quotas, regulation, regulations,
        regulator, regulators, regulatory, ruling, section 301, section 232, tariff, tariffs, trade agreement,
        trade deal, trade war, trade wars, usmca, wto"""
    ),
    "sanctions": _phrases(
        """asset freeze, blacklist, blacklisted, boycott, embargo, embargoed, embargoes, export ban, export bans,
        export control, export controls, import ban, import bans, ofac, price cap, sanction, sanctioned, sanctions,
        secondary sanctions, shadow fleet"""
    ),
}

# What holds a keyword and means something else.
NOT_KEYWORDS: Final = _phrases(
    """african union, bidding war, bowling strike, console war, console wars, cotton candy, credit union, culture war,
    culture wars, essential oil, essential oils, european union, fire drill, hunger strike, hunger strikes,
    lucky strike, navy blue, oil painting, oil paintings, olive oil, port wine, price war, price wars, rap war,
    relationship, soviet union, star wars, state of the union, strike a deal, strike a pose, strike price, strike rate,
    strike zone, strikes a deal, student union, terminal illness, terminal cancer, third strike, usb port, usb ports,
    war movie, war on drugs, world of warcraft, oil on canvas, palm oil free, coconut oil, film delay,
    game delay, rain delay, custom made, fantasy draft"""
)

# Whole phrases that say an event is about something else altogether. A chokepoint in the text outweighs them.
OFF_TOPIC: Final = _phrases(
    """academy award, academy awards, album of the year, america s got talent, american idol, ballon d or, baseball,
    basketball, best actor, best actress, best picture, big brother, billboard hot 100, box office, bundesliga,
    carolina hurricanes, celebrity, champions league, copa america, cricket, dating, emmy, emmys, esports, euro 2024,
    euro 2028, euros 2028, europa league, eurovision, f1, fa cup, fifa, football, formula 1, formula one, french open,
    golden globes, golf, grammy, grammys, grand prix, grand slam, gta vi, half time show, ice hockey, la liga,
    league of legends, ligue 1, mlb, mma, movie, mvp, nba, nfl, nhl, olympic games, olympics, oscars, playoffs,
    pop star, premier league, prime minister s wedding, rotten tomatoes, royal wedding, rugby, seattle storm,
    serie a, six nations, soccer, sport, sports, stanley cup, super bowl, taylor swift, tennis, tour de france,
    touchdown, uefa, ufc, wimbledon, wnba, world cup, world series"""
)

# Words of logistics that name no place.
GENERIC: Final = _phrases(
    """cargo, carrier, carriers, container, containers, freight, logistics, maritime, port, ports, ship, shipment,
    shipments, shipping, ships, supply chain, supply chains, tanker, tankers, trade, trade route, trade routes,
    vessel, vessels, warehouse, warehouses"""
)

# Category, weight, phrases. A phrase may speak for more than one category.
CATEGORY_TERMS: Final = (
    ("GEOPOLITICAL", 3, _phrases(
        """annexation, armed conflict, ceasefire, coup, embargo, embargoes, geopolitical, invade, invades, invasion,
        peace deal, red sea, sanction, sanctioned, sanctions, shadow fleet, trade war, trade wars, truce, war, war risk,
        wars"""
    )),
    ("GEOPOLITICAL", 2, _phrases(
        """airspace closure, annex, blockade, blockades, border, conflict, conflicts, diplomatic, escalation, export
        control, export controls, houthi, houthis, iran, military, military exercise, military exercises, nato,
        naval blockade, nuclear deal, price cap, strait of hormuz, taiwan strait, treaty, troops, warship,
        warships"""
    )),
    ("SECURITY", 3, _phrases(
        """airstrike, airstrikes, cyberattack, cyber attack, drone attack, drone attacks, drone strike, drone strikes,
        hijack, hijacked, hijacking, hostage, hostages, missile attack, missile attacks, missile strike,
        missile strikes, piracy, pirate, pirates, ransomware, sabotage, sea mines, smuggling, terrorism, terrorist,
        theft"""
    )),
    ("SECURITY", 2, _phrases(
        """armed robbery, attack, attacked, attacks, cargo theft, detained, explosion, limpet mine, missile, missiles,
        seize, seized, seizes, seizure, seizures"""
    )),
    ("INFRASTRUCTURE", 3, _phrases(
        """aground, berth, berths, blackout, bridge collapse, cable cut, canal, canals, congestion, derailment,
        draft restriction, draft restrictions, draught restrictions, dredging, grounding, outage, outages, pipeline,
        pipelines, port closure, port congestion, undersea cable"""
    )),
    ("INFRASTRUCTURE", 1, _phrases(
        """backlog, backlogs, bridge, channel, closed, closure, closures, container, containers, delay, delayed,
        delays, disruption, diversion, diversions, harbor, harbour, port, ports, rail, railroad, railway, shipping,
        ships, terminal, terminals, transit, transits, vessel, vessels, waterway"""
    )),
    ("WEATHER", 3, _phrases(
        """avalanche, blizzard, cyclone, cyclones, drought, droughts, earthquake, earthquakes, el nino, el niño,
        flood, flooding, floods, heat wave, heatwave, hurricane, hurricanes, ice storm, la nina, landslide, monsoon,
        quake, snowstorm, storm surge, tornado, tornadoes, tropical storm, tropical storms, tsunami, typhoon,
        typhoons, volcanic, volcano, wildfire, wildfires, winter storm"""
    )),
    ("WEATHER", 2, _phrases(
        "fog, gale, high wind, low water, rain, rainfall, storm, storms, water level, water levels"
    )),
    ("LABOR", 4, _phrases(
        """collective bargaining, dock workers, dockworker, dockworkers, dockers, ila, ilwu, industrial action,
        labor contract, labor dispute, labour dispute, lockout, lockouts, longshoremen, strike, strikes, walkout,
        walkouts, work stoppage, work stoppages"""
    )),
    ("LABOR", 2, _phrases(
        """crew shortage, labor, labour, picket, pickets, seafarers, stevedores, truckers, union, unions"""
    )),
    ("REGULATORY", 4, _phrases(
        """antitrust, cbam, carbon border, customs rules, emissions trading, export licence, import duty, jones act,
        legislation, port fees, quota, quotas, regulation, regulations, regulator, regulators, ruling, section 232,
        section 301, tariff, tariffs"""
    )),
    ("REGULATORY", 2, _phrases(
        """approve, ban, bans, compliance, court, customs, import ban, inspection, inspections, law, permit, permits,
        quarantine, senate, supreme court, trade agreement, trade deal, usmca, wto"""
    )),
    ("ECONOMIC", 3, _phrases(
        """baltic dry index, brent, charter rates, container rates, freight index, freight rate, freight rates, gdp,
        henry hub, inflation, interest rate, interest rates, oil price, oil prices, opec, rate cut, recession,
        spot rates, stock index, unemployment, wti"""
    )),
    ("ECONOMIC", 2, _phrases(
        """barrel, barrels, commodity, crude, crude oil, demand, economy, exports, futures, imports, lng, natural gas,
        oil, price, prices, stock"""
    )),
)  # fmt: skip

# A hazard's kind as GDACS writes it, in words.
HAZARD_WORDS: Final = {
    "DR": "drought",
    "EQ": "earthquake",
    "FL": "flood",
    "TC": "tropical cyclone",
    "TS": "tsunami",
    "VO": "volcano",
    "WF": "wildfire",
}
