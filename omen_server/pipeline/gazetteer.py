"""
Chokepoints and ports: what they are called, where they lie, and what only sounds like them.
"""

from dataclasses import dataclass
from typing import Final

from omen_server.pipeline.sphere import Position


@dataclass(frozen=True, slots=True)
class Chokepoint:
    """
    One narrow way that much of the world's trade takes.
    """

    id: str
    name: str
    latitude: float
    longitude: float
    regions: tuple[str, ...]
    aliases: tuple[str, ...]

    @property
    def position(self) -> Position:
        """
        The point distances are measured from.
        """
        return self.latitude, self.longitude


@dataclass(frozen=True, slots=True)
class Port:
    """
    One port, by its UN/LOCODE, whose first two letters are its country.
    """

    locode: str
    name: str
    latitude: float
    longitude: float
    # True when nobody who names the town alone means anything but the port.
    distinctive: bool

    @property
    def position(self) -> Position:
        """
        The point distances are measured from.
        """
        return self.latitude, self.longitude


MIDDLE_EAST = "Middle East"
ASIA = "South-East Asia"
EUROPE = "Europe"

CHOKEPOINTS: Final = (
    Chokepoint(
        "bab_el_mandeb", "Bab el-Mandeb", 12.6, 43.3, ("East Africa", MIDDLE_EAST),
        ("bab el mandeb", "bab al mandab", "bab al mandeb", "bab el mandab", "mandeb strait", "gate of tears",
         "gulf of aden"),
    ),
    Chokepoint(
        "bosporus", "Bosporus", 41.1, 29.1, ("Black Sea", EUROPE),
        ("bosporus", "bosphorus", "turkish straits", "dardanelles", "canakkale strait", "istanbul strait"),
    ),
    Chokepoint(
        "cape_of_good_hope", "Cape of Good Hope", -34.36, 18.47, ("Southern Africa",),
        ("cape of good hope", "cape route", "cape agulhas", "around the cape"),
    ),
    Chokepoint(
        "danish_straits", "Danish straits", 55.6, 11.0, ("Baltic Sea", EUROPE),
        ("danish straits", "danish strait", "øresund", "öresund", "oresund", "the sound strait", "great belt",
         "little belt", "kattegat", "skagerrak", "storebælt"),
    ),
    Chokepoint(
        "dover_strait", "Strait of Dover and English Channel", 51.0, 1.45, (EUROPE, "North Sea"),
        ("strait of dover", "dover strait", "straits of dover", "english channel", "channel tunnel", "pas de calais"),
    ),
    Chokepoint(
        "gibraltar_strait", "Strait of Gibraltar", 35.97, -5.6, (EUROPE, "Mediterranean", "North Africa"),
        ("strait of gibraltar", "straits of gibraltar", "gibraltar strait", "gibraltar"),
    ),
    Chokepoint(
        "malacca_strait", "Strait of Malacca", 2.5, 101.5, (ASIA,),
        ("strait of malacca", "straits of malacca", "malacca strait", "malacca straits", "malacca"),
    ),
    Chokepoint(
        "panama_canal", "Panama Canal", 9.08, -79.68, ("Central America",),
        ("panama canal", "panama", "gatun lake", "gatún lake", "gatun locks", "neopanamax locks"),
    ),
    Chokepoint(
        "red_sea", "Red Sea", 20.0, 38.0, ("East Africa", MIDDLE_EAST),
        ("red sea",),
    ),
    Chokepoint(
        "singapore_strait", "Singapore Strait", 1.2, 103.85, (ASIA,),
        ("singapore strait", "singapore straits", "strait of singapore", "singapore"),
    ),
    Chokepoint(
        "strait_of_hormuz", "Strait of Hormuz", 26.57, 56.25, (MIDDLE_EAST, "Persian Gulf"),
        ("strait of hormuz", "straits of hormuz", "hormuz strait", "hormuz", "persian gulf", "arabian gulf",
         "gulf of oman"),
    ),
    Chokepoint(
        "suez_canal", "Suez Canal", 30.5, 32.3, (MIDDLE_EAST, "North Africa"),
        ("suez canal", "suez", "sumed pipeline", "ismailia", "great bitter lake"),
    ),
    Chokepoint(
        "taiwan_strait", "Taiwan Strait", 24.5, 119.5, ("East Asia",),
        ("taiwan strait", "taiwan straits", "strait of taiwan", "formosa strait", "straits of taiwan"),
    ),
)  # fmt: skip

# What holds the name of a place and means another one, or none.
NOT_PLACES: Final = (
    "gulf of mexico", "gulf of america", "panama papers", "panama city beach", "panama city florida", "panama hat",
    "panama hats", "panama jack", "tailor of panama", "red sea film festival", "red sea diving", "red sea urchin",
    "red sea pedestrians", "suez environnement", "suez water", "suez sa", "singapore airlines",
    "singapore grand prix", "singapore sling", "singapore math", "singapore dollar", "singapore idol",
    "singapore open", "strait of messina", "dover delaware", "dover street", "dover sole", "gibraltar fc",
    "gibraltar national team", "malacca sultanate", "port of call", "port of entry", "port authority bus",
    "houston astros", "houston rockets", "houston texans", "los angeles lakers", "los angeles dodgers",
    "new york port authority", "antwerp diamond", "rotterdam marathon", "rotterdam open", "rotterdam film festival",
    "english channel swim", "swim the english channel", "swim across the english channel",
)  # fmt: skip

_PORTS = """
AEJEA Jebel Ali 25.01 55.06 +
AUMEL Melbourne -37.83 144.92
AUSYD Sydney -33.97 151.22
BEANR Antwerp 51.27 4.34 +
BEZEE Zeebrugge 51.33 3.2 +
BRPNG Paranagua -25.5 -48.51 +
BRSSZ Santos -23.97 -46.3
CAHAL Halifax 44.65 -63.57
CAMTR Montreal 45.55 -73.52
CAPRR Prince Rupert 54.29 -130.35
CAVAN Vancouver 49.29 -123.11
CLSAI San Antonio -33.59 -71.62
CLVAP Valparaiso -33.03 -71.63
CNDLC Dalian 38.93 121.65
CNNGB Ningbo 29.94 121.85 +
CNNSA Nansha 22.64 113.68 +
CNQDG Qingdao 36.07 120.31 +
CNSHA Shanghai 31.34 121.64
CNTXG Tianjin 38.98 117.78
CNXMN Xiamen 24.45 118.07 +
CNYTN Yantian 22.57 114.28 +
COBUN Buenaventura 3.88 -77.08
COCTG Cartagena 10.4 -75.53
DEBRV Bremerhaven 53.58 8.55 +
DEHAM Hamburg 53.53 9.93
DEWVN Wilhelmshaven 53.59 8.15 +
DJJIB Djibouti 11.6 43.14
DKAAR Aarhus 56.15 10.24
ECGYE Guayaquil -2.28 -79.91
EGALY Alexandria 31.18 29.87
EGDAM Damietta 31.47 31.76 +
EGPSD Port Said 31.26 32.31 +
ESALG Algeciras 36.14 -5.43 +
ESBCN Barcelona 41.34 2.16
ESVLC Valencia 39.44 -0.32
FRFOS Fos sur Mer 43.41 4.89 +
FRLEH Le Havre 49.48 0.11 +
GBFXT Felixstowe 51.96 1.31 +
GBLGP London Gateway 51.5 0.48 +
GBSOU Southampton 50.9 -1.42
GRPIR Piraeus 37.94 23.62 +
HKHKG Hong Kong 22.34 114.12
IDTPP Tanjung Priok -6.1 106.89 +
ILHFA Haifa 32.82 35.0
INMUN Mundra 22.74 69.7 +
INNSA Nhava Sheva 18.95 72.95 +
IRBND Bandar Abbas 27.14 56.2 +
ITGIT Gioia Tauro 38.45 15.9 +
ITGOA Genoa 44.41 8.92
ITTRS Trieste 45.63 13.76
JPNGO Nagoya 35.05 136.85
JPOSA Osaka 34.63 135.42
JPTYO Tokyo 35.61 139.79
JPUKB Kobe 34.67 135.21
JPYOK Yokohama 35.44 139.66
KEMBA Mombasa -4.05 39.63
KRINC Incheon 37.45 126.6
KRPUS Busan 35.08 128.83
KRULS Ulsan 35.5 129.39
KWSAA Shuaiba 29.04 48.16 +
LKCMB Colombo 6.95 79.84
MAPTM Tanger Med 35.89 -5.5 +
MTMAR Marsaxlokk 35.83 14.54 +
MXLZC Lazaro Cardenas 17.94 -102.18 +
MXVER Veracruz 19.21 -96.13
MXZLO Manzanillo 19.07 -104.3
MYPKG Port Klang 3.0 101.36 +
MYTPP Tanjung Pelepas 1.36 103.55 +
NGAPP Apapa 6.44 3.37 +
NLAMS Amsterdam 52.41 4.8
NLRTM Rotterdam 51.95 4.14 +
OMSLL Salalah 16.94 54.0 +
OMSOH Sohar 24.5 56.62 +
PABLB Balboa 8.96 -79.57
PACTB Cristobal 9.35 -79.91
PECLL Callao -12.05 -77.14 +
PHMNL Manila 14.6 120.95
PKKHI Karachi 24.83 66.98
PLGDN Gdansk 54.38 18.71 +
QAHMD Hamad Port 25.03 51.62 +
RUNVS Novorossiysk 44.72 37.8 +
RUULU Ust Luga 59.67 28.41 +
RUVVO Vladivostok 43.1 131.9
SADMM Dammam 26.5 50.2 +
SAJED Jeddah 21.48 39.17
SAYNB Yanbu 23.96 38.2 +
SEGOT Gothenburg 57.69 11.85
SGSIN Singapore 1.26 103.84
THLCH Laem Chabang 13.08 100.89 +
TRIST Ambarli 40.97 28.68 +
TRMER Mersin 36.8 34.64
TWKHH Kaohsiung 22.61 120.28 +
TZDAR Dar es Salaam -6.83 39.29
UAODS Odesa 46.49 30.74
USBAL Baltimore 39.25 -76.57
USCHS Charleston 32.82 -79.93
USHOU Houston 29.73 -95.27
USLAX Los Angeles 33.74 -118.26
USLGB Long Beach 33.75 -118.21
USMIA Miami 25.78 -80.17
USMSY New Orleans 29.93 -90.06
USNYC New York and New Jersey 40.67 -74.04
USOAK Oakland 37.8 -122.31
USORF Norfolk 36.93 -76.33
USSAV Savannah 32.13 -81.14
USSEA Seattle 47.59 -122.35
USTIW Tacoma 47.27 -122.41
VNHPH Haiphong 20.86 106.68 +
VNVUT Cai Mep 10.54 107.03 +
ZACPT Cape Town -33.91 18.43
ZADUR Durban -29.87 31.03
"""


def _port(line: str) -> Port:
    words = line.split()
    distinctive = words[-1] == "+"
    if distinctive:
        words.pop()
    return Port(words[0], " ".join(words[1:-2]), float(words[-2]), float(words[-1]), distinctive)


PORTS: Final = tuple(_port(line) for line in _PORTS.strip().splitlines())
